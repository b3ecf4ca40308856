"""The burst site on SageMaker."""
