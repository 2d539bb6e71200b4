"""Files that clients send: their reception, and what is made of them."""
