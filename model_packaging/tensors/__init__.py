"""Models that take tensors, or a text, and answer with tensors: made into ONNX variants, checked, laid out for Triton.

``config`` and ``settings``: what model.yaml may say · ``source``: the model and the files it is made from ·
``onnx_export``: torch → ONNX · ``variants``: one module per scheme · ``checks``: parity, latency and memory against the
fp32 reference · ``assess``: every variant made, checked and ranked · ``signature`` and ``layout``: what containers read
· ``triton_config``: Triton's configurations · ``table``: figures as rows · ``packager``: all of it in order.
"""
