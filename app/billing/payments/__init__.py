"""Money in: what every channel hands over, the counter, receipts. Payments never import what they pay for."""
