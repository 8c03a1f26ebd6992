"""The words of the command line, and the messages that answer them."""
