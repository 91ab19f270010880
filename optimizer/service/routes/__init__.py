"""What the service answers under `/api`, one subject a module. Handlers only translate; the work is done elsewhere."""
