"""What celeryfleet does for Django projects; nothing here is imported where there is none."""
