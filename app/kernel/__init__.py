"""What a number, an instant, a failure and a unit of work are. Nothing here knows a meter or a bill."""
