"""What a run did, from its events alone: JSON lines, a page, and spans for OpenTelemetry."""
