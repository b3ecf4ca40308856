"""PRODUCTION: the small scheduled functions. They use the standard library and boto3, and never import Pulumi."""
