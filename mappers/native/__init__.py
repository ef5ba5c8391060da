"""The compiled mapper for plain documents."""
