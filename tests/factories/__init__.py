"""What several tests build: data, models and stores in the layouts that the steps read and write, small but real.

One module for each thing that is made, since some of them need torch and most tests must not:
`records` (what a step reads of a model, a traffic artifact and a watch), `metrics` (stand-ins for KFP's artifacts), `datasets`,
`image_folders`, `onnx_graphs`, `candidates`, `drift_traffic`, and stores in which something has happened: `serving_store`,
`gate_store`, `store_history`. With torch: `training_batches`, `trained_bundle`, `retraining`.
"""
