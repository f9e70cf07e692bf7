"""The 3D convolutional network: architecture, training, saliency."""
