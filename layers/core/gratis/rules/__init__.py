"""The rules, pure: offers, accounts, windows, eligibility, decisions, prices, totals. No AWS import."""
