"""What people type and see: commands, progress, tables. Nothing below this room prints."""
