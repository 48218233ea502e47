"""What a scoring run will need: memory, disk, arithmetic. From the configuration alone, without weights."""
