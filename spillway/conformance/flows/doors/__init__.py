"""What lets a flow through or not, one kind of door a module."""
