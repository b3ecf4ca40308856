"""The burst site on Azure Machine Learning."""
