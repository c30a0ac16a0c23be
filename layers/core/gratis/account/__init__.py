"""What the account API needs: allowance, usage, sharing, explanations."""
