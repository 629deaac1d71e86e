"""The front door: BinderHub's surface, the REST api and the pages. It does no work of its own."""
