"""The only room that knows diffusers: loading, the layers' names, installing edits, sampling."""
