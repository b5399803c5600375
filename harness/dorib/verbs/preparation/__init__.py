"""Before the verbs: the model is loaded, and components and captions are looked at."""
