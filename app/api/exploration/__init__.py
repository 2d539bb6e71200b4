"""Pictures that explore what a generator draws: the nearest training images of an address, and points around it."""
