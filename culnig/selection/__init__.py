"""From scores to neuron sets: general, specific, random; the neuron-set file."""
