"""Alerts: which figures of the fleet are an alarm, defined once for the dashboard and for Prometheus. No I/O and no clock."""
