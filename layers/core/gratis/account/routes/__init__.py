"""The account API's routes, a module for each subject. A route is one function; its parameters are the request's.

What the routes share is in `call`. The function account_api names the modules; its router imports each when a call
first needs it.
"""
