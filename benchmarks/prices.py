"""What AWS asks for what the designs use. One dated table; everything in dollars is computed from it."""

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class Prices:
    """USD a million units of DynamoDB on demand, without free tier and taxes."""

    since: date
    region: str
    source: str
    write_units: float
    read_units: float
    lambda_gb_second: float
    """USD; of a function on arm64."""

    def usd_per_million(self, write_units: float, read_units: float) -> float:
        """Dollars for a million events that each take so many units."""
        return write_units * self.write_units + read_units * self.read_units

    def lambda_usd_per_million(self, seconds: float, megabytes: int) -> float:
        """Dollars for a million events that each take a function of this memory so long."""
        return seconds * megabytes / 1024 * self.lambda_gb_second * 1_000_000


PRICES = Prices(
    since=date(2024, 11, 1),
    region="us-east-1",
    source="https://aws.amazon.com/dynamodb/pricing/on-demand/ (standard table class)",
    write_units=0.625,
    read_units=0.125,
    lambda_gb_second=0.0000133334,
)
"""The designs are compared by DynamoDB alone: the webhook, the queue and the stream are the same for each."""
