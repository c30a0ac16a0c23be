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
    shard_hour: float
    """USD; of Kinesis, provisioned."""
    shard_hour_kept: float
    """USD more, where it keeps records for longer than a day, up to seven."""
    put_units: float
    """USD a million; a record of up to 25 KB is one."""
    queue_requests: float
    """USD a million; to a FIFO queue, of up to 64 KB."""

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
    shard_hour=0.015,
    shard_hour_kept=0.020,
    put_units=0.014,
    queue_requests=0.50,
)
"""The designs are compared by DynamoDB alone: webhook, queue and the table's stream are the same for each. Only what
comes over Kinesis is given the price of that, too. Those of Kinesis and SQS are list prices as we know them."""
