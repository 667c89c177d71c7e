"""What is computed from energy for people: estimates before a run, advice, reports after it. Reads no hardware."""
