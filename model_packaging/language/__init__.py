"""Causal language models: quantized to safetensors that vLLM and transformers load, checked, and laid out for vLLM.

``config``: what model.yaml may say · ``source``: a Hugging Face folder or a GGUF file · ``weights``: what lies in a
folder of safetensors · ``shape``: what config.json says about sizes · ``quantized``: whether a checkpoint is quantized
as it says · ``variants``: what each precision is, and does to a model · ``checkpoint``: writes a variant's folder ·
``gptq``: weights rounded against calibration text · ``checks``: perplexity, greedy match and logits against fp32 ·
``assess``: every variant made, checked and ranked · ``serving``: vLLM's arguments, adapters, draft models · ``layout``:
the folders that servers read · ``table``: figures as rows · ``packager``: all of it in order.
"""
