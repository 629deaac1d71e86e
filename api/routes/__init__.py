"""All routes but `/build`, in the order in which they are asked."""

from fastapi import APIRouter

ROUTERS: tuple[APIRouter, ...] = ()
