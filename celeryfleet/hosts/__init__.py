"""What supervisors of one fleet on several hosts tell and ask each other by way of the broker they share."""
