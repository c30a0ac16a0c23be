"""A small client of Gratis for gateways: would a request be free, and keep it free until it comes.

It needs nothing but urllib3, so it can be installed beside a gateway without the rest of the distribution:
`pip install --no-deps .`.
"""

from gratis_client.client import Answer, Gratis, NoAnswer, new_id

__all__ = ["Answer", "Gratis", "NoAnswer", "new_id"]
