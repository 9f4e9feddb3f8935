"""What is owed: plans, wallets, the ledger, and the decision to stop or restore a supply."""
