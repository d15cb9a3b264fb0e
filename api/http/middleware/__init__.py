"""What wraps every request: limits, headers, ids, logging."""
