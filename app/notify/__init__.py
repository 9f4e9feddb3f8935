"""Who is told: notices to people, their templates, the channel they go by and the proof that they arrived."""
