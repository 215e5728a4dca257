"""Use of a trained model: the model folder, predictions for new recordings, ONNX, and the local page."""
