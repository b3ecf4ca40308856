"""ONNX → TensorRT engine, by hardware key.

``precision``   fp32 ONNX → typed ONNX: fp16, or int8 / fp8 with explicit quantize-dequantize pairs
``libraries``   TensorRT 10 or 11, or TensorRT-RTX: the one place that imports them
``builder``     typed ONNX → serialized plan, strongly typed, with optimisation profiles and a timing cache
``runtime``     a plan found by hardware key, deserialized, run on torch CUDA tensors, replayed from a CUDA graph
``triton``      an engine as Triton serves it: the package's repository with the engine in it
``check``       parity with the fp32 model, and latency
``compile``     a package → its engines; also ``python -m model_packaging.tensorrt.compile``
``job``         the Kubernetes Job, or the SageMaker request, that runs it inside the serving image

Only ``libraries`` and ``runtime`` need what a plain machine lacks, and import it when they are called.
"""
