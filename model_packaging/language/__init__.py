"""Causal language models: quantized to safetensors that vLLM and transformers load, checked, and laid out for vLLM.

``config``: what model.yaml may say · ``sources``: a Hugging Face folder or a GGUF file · ``schemes``: what each variant
is in compressed-tensors' terms · ``checkpoint``: writes a variant's folder · ``gptq``: weights rounded against
calibration text · ``checks``: perplexity, greedy match and logits against fp32 · ``layout``: the folders that servers
read · ``build``: all of it in order.
"""
