"""An image becomes a batch: decoding, resampling, normalization; geometry leads back."""
