"""The processes: the HTTP server, `acgan up` and its embedded Redis."""
