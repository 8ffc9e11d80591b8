"""Training in PyTorch: networks, the loop, and what surrounds it.

architectures  the two networks                      task           a dataset's splits as batches on a device
batches        stored images to seeded batches       augmentation   random views of a batch
epoch          one pass: train or validate           recipe         how to train
loop           epochs until the best weights         lr_finder      the learning-rate range test
session        progress, events and checkpoint       checkpoint     resuming a killed training
curves         learning curves, TensorBoard          outcome        the final model, scored once and written as a bundle
model_events   the trained model, in TensorBoard     randaugment    torchvision's operations, drawn by image
model_card     MODEL_CARD.md                         weights        state dicts in a bundle
onnx_export    the serving graph, as ONNX
device         GPU or CPU, number type               seeding        one seed for everything random
"""
