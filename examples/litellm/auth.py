"""A proxy without a database, for one organization. With one, `gratis_organization` is in the metadata of a team."""

import os
import secrets

from fastapi import HTTPException
from litellm.proxy._types import UserAPIKeyAuth


async def user_api_key_auth(request, api_key):
    if not secrets.compare_digest(api_key.encode(), os.environ["LITELLM_MASTER_KEY"].encode()):
        raise HTTPException(401, "no valid key")
    return UserAPIKeyAuth(api_key=api_key, metadata={"gratis_organization": os.environ["GRATIS_ORGANIZATION"]})
