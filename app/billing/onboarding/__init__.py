"""Onboarding: one workbook brings a property's spaces, parties, meters and opening balances, all or nothing."""
