"""What each verb of the command line takes and does: thin functions, heavy imports inside them."""
