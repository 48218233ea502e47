"""culnig: find the neurons of a language model that carry cultural understanding."""

__version__ = "0.1.0"
