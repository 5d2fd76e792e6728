"""Int8 ONNX files, made by onnxruntime and measured against the float ones."""
