"""The topology of a fleet, drawn: which tasks go through which exchanges to which queues, and which pools read them."""
