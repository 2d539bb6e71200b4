"""Lists of jobs for people: searched, filtered and sorted, with places in the queue."""
