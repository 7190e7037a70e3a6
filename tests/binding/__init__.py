"""What only the boundary between Python and the engine can get wrong."""
