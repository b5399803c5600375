"""Commands on published rows: verified, reproduced, submitted."""
