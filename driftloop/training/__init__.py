"""Training in PyTorch: architectures, one loop, and what surrounds it.

architectures  the two networks                 pixels        uint8 images to normalised batches
batches        seeded batches of a split        augmentation  random views of a batch
epoch          one pass: train or validate      fit           epochs until the best weights
lr_finder      the learning-rate range test     checkpoint    resuming a killed run
weights        state dicts in a bundle          events        TensorBoard
device         GPU or CPU, and threads          seeding       one seed for everything
outcome        the finished model, judged once and written as a bundle
"""
