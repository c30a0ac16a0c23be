"""What a world starts from, all of it from its seed: offers, accounts, traffic, a plan, and how unkind machines are."""
